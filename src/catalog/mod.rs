//! WHAT the database says of its functions, views and tables.
