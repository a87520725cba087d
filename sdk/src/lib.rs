//! The client of Outrigger, the transactional messaging sidecar.
//!
//! - [`Client`] connects to the sidecar next to the service.
//! - [`Producer`] sends messages, plainly or bound to a local database transaction
//!   ([`transaction`]): delivered if and only if that transaction commits.
//! - [`consumer`] receives them; [`inbox`] and [`guard`] make an effect happen once, however
//!   often its message arrives.
//! - [`saga`] defines and starts processes over several services that complete or are undone.
//! - [`barrier`] lets a participant of a saga do each of its calls once, and in no wrong order.
//! - [`testing`] has checks for the tests of such participants.
//! - [`migrations`] has the tables that this needs in the application's database.
//!
//! ```no_run
//! # #[cfg(feature = "sqlite")]
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use outrigger_sdk::{Client, Message, migrations};
//!
//! let pool = sqlx::SqlitePool::connect("sqlite://orders.db").await?;
//! migrations::sqlite().run(&pool).await?;
//!
//! let client = Client::connect("http://127.0.0.1:7070").await?;
//! let producer = client.producer("order-service");
//! producer
//!     .transaction()
//!     .message(Message::new("orders", "17").tag("created"))
//!     .run(&pool, async |tx| {
//!         sqlx::query("INSERT INTO orders (id) VALUES (17)").execute(&mut **tx).await?;
//!         Ok(())
//!     })
//!     .await?;
//! # Ok(())
//! # }
//! ```
//!
//! # Features
//!
//! - `postgres`, `mysql`, `sqlite`: the local database, through sqlx. MySQL's password check
//!   `caching_sha2_password` needs TLS or sqlx's own feature `mysql-rsa`.
//! - `redis`: the barrier of a saga's participant in Redis.

pub mod admin;
pub mod barrier;
pub mod check_back;
mod client;
pub mod consumer;
pub mod database;
mod durability;
pub mod fence;
pub mod guard;
pub mod inbox;
mod message;
pub mod migrations;
mod producer;
pub mod publish;
mod reconnect;
mod refusal;
pub mod saga;
mod stop;
pub mod testing;
pub mod transaction;
mod verdict;

pub use client::{Client, ConnectError};
pub use consumer::ConsumerBuilder;
pub use database::LocalDatabase;
pub use durability::Durability;
pub use message::Message;
pub use producer::Producer;
pub use publish::PublishOptions;
pub use refusal::Refusal;
pub use stop::Stop;
pub use verdict::Verdict;

/// Compiles the examples of the README.
#[cfg(all(doctest, feature = "sqlite"))]
#[doc = include_str!("../../README.md")]
struct Readme;
