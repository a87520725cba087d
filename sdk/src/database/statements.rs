/// The statements of the fence and the inbox that differ only in their words. All dialects bind
/// the same values in the same order.
#[cfg(any(feature = "mysql", feature = "postgres", feature = "sqlite"))]
macro_rules! statements {
    (
        insert_commit: $insert_commit:expr,
        write_payload: $write_payload:expr,
        holds_fence: $holds_fence:expr,
        insert_inbox: $insert_inbox:expr,
        holds_inbox: $holds_inbox:expr,
    ) => {
        async fn insert_commit(
            connection: &mut Self::Connection,
            id: uuid::Uuid,
            producer_group: &str,
        ) -> Result<(), sqlx::Error> {
            let insert = sqlx::query($insert_commit).bind(id.to_string());
            insert.bind(producer_group).execute(connection).await?;
            Ok(())
        }

        async fn write_payload(
            connection: &mut Self::Connection,
            id: uuid::Uuid,
            payload: &[u8],
        ) -> Result<(), sqlx::Error> {
            let update = sqlx::query($write_payload).bind(payload);
            update.bind(id.to_string()).execute(connection).await?;
            Ok(())
        }

        async fn holds_fence(
            connection: &mut Self::Connection,
            id: uuid::Uuid,
        ) -> Result<bool, sqlx::Error> {
            let select = sqlx::query($holds_fence).bind(id.to_string());
            Ok(select.fetch_optional(connection).await?.is_some())
        }

        async fn insert_inbox(
            connection: &mut Self::Connection,
            consumer: &str,
            message_id: &str,
        ) -> Result<bool, sqlx::Error> {
            let insert = sqlx::query($insert_inbox).bind(consumer);
            match insert.bind(message_id).execute(connection).await {
                Ok(inserted) => Ok(inserted.rows_affected() == 1),
                // Where the dialect has no insert that leaves everything else an error.
                Err(sqlx::Error::Database(error)) if error.is_unique_violation() => Ok(false),
                Err(error) => Err(error),
            }
        }

        async fn holds_inbox(
            connection: &mut Self::Connection,
            consumer: &str,
            message_id: &str,
        ) -> Result<bool, sqlx::Error> {
            let select = sqlx::query($holds_inbox).bind(consumer);
            let row = select.bind(message_id).fetch_optional(connection).await?;
            Ok(row.is_some())
        }
    };
}
#[cfg(any(feature = "mysql", feature = "postgres", feature = "sqlite"))]
pub(crate) use statements;
