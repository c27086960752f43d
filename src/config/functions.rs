//! What functions of users do, by the user's word.

/// What a function does, over what the catalog says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FunctionRule {
    /// Its schema; `None` = any.
    pub schema: Option<Box<str>>,
    /// Its name, as the catalog stores it.
    pub name: Box<str>,
    /// Whether it writes; `None` = as the catalog says.
    pub class: Option<FunctionClass>,
    /// Whether it may leave something in the session; `None` = as the catalog says.
    pub state: Option<FunctionState>,
}

/// Where calls of a function go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FunctionClass {
    /// A replica may run it.
    Read,
    /// The primary runs it.
    Write,
}

/// What a function leaves in the session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FunctionState {
    /// Nothing.
    None,
    /// Perhaps something: the session keeps its connection.
    Pin,
}
