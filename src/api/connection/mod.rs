//! Connections: how many there may be, how long each may take over what, and what is answered to
//! what is no request.
//!
//! The server below parses one request after the other and knows of no deadline but the first
//! head's. What is missing stands in the stream that it reads and writes ([`stream`]), which knows
//! from the requests on it ([`state`]) whether it is waiting, reading or answering.

mod deadline;
mod farewell;
pub(crate) mod head;
mod refusal;
mod server;
mod slots;
mod state;
mod stream;

pub use server::serve;
pub(super) use state::{Connection, Inside, of};
