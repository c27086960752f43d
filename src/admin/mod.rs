//! The operator's door: HTTP, console, status.
