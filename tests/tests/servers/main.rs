//! The servers that the other tests stand on.

use outrigger_tests::servers::{
    Durability, MySql, Postgres, Redis, fresh_database, fresh_mysql_database,
};
use sqlx::Connection as _;

#[tokio::test]
async fn every_test_has_a_database_of_its_own() -> anyhow::Result<()> {
    let first = fresh_database().await?;
    let second = fresh_database().await?;
    assert_ne!(first, second);
    for url in [first, second] {
        let (client, connection) = tokio_postgres::connect(&url, tokio_postgres::NoTls).await?;
        tokio::spawn(connection);
        client.batch_execute("CREATE TABLE mine (id int)").await?;
    }
    for url in [fresh_mysql_database().await?, fresh_mysql_database().await?] {
        let mut connection = sqlx::MySqlConnection::connect(&url).await?;
        sqlx::raw_sql("CREATE TABLE mine (id int)")
            .execute(&mut connection)
            .await?;
    }
    Ok(())
}

#[test]
fn servers_and_their_files_are_gone_after_drop() -> anyhow::Result<()> {
    let redis = Redis::start()?;
    let postgres = Postgres::start(Durability::ProcessCrash)?;
    let mysql = MySql::start()?;
    let ports: Vec<u16> = [redis.url(), postgres.url(), mysql.url()]
        .iter()
        .filter_map(|url| url.rsplit_once(':')?.1.split('/').next()?.parse().ok())
        .collect();
    assert_eq!(ports.len(), 3);
    let listening = |port: u16| std::net::TcpStream::connect(("127.0.0.1", port)).is_ok();
    assert!(ports.iter().all(|port| listening(*port)));
    drop((redis, postgres, mysql));
    assert!(!ports.iter().any(|port| listening(*port)));
    Ok(())
}
