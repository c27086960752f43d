//! Backend connections: who has one, who waits for one, when one is closed.
