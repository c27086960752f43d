//! One client: the engine-neutral loop.
