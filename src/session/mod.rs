//! One client: the engine-neutral loop from its login to its leave.

mod acquire;
mod ask;
pub mod cancel;
pub mod catalog;
mod checkout;
mod core;
mod doubts;
mod early;
mod effects;
pub mod explain;
mod floor;
mod journal;
mod judge;
mod kill;
mod local;
mod login;
mod lost;
mod plan;
pub mod prepared;
pub mod readers;
mod reading;
pub mod registry;
pub mod roster;
mod run;
mod settle;
pub mod shapes;
pub mod shared;
mod slow;
mod statements;
pub mod through;
mod timer;
mod unit;
mod waits;

pub use login::login;
pub use run::Session;
pub use shared::{Lane, Shared};
