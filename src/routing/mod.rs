//! WHICH node serves a statement: a pure function of its verdict, the session's state and the cluster view.

pub mod balance;
pub mod explain;
pub mod router;

pub use balance::Balancer;
pub use explain::{Candidate, Explained, explain};
pub use router::{Ask, Choice, LeftOut, Sticky, Why, route};
