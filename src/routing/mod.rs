//! WHICH node serves a statement: a pure function of its verdict, the session's state and the cluster view.
