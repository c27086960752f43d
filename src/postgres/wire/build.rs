//! The messages that we send, in either role. All append to what is already there, so that many go out in one write.

use crate::engine::TxState;
use crate::error::ClientError;

/// The type that a text column is announced with.
pub const OID_TEXT: u32 = 25;

/// Appends a frame: `tag`, a length that is filled in afterwards, and what `body` appends.
pub fn message(out: &mut Vec<u8>, tag: u8, body: impl FnOnce(&mut Vec<u8>)) {
    out.push(tag);
    untagged(out, body);
}

/// A first packet: the same without a tag.
pub fn untagged(out: &mut Vec<u8>, body: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    body(out);
    let length = u32::try_from(out.len() - start).unwrap_or(u32::MAX);
    if let Some(field) = out.get_mut(start..start + 4) {
        field.copy_from_slice(&length.to_be_bytes());
    }
}

/// Appends a NUL-terminated string; a NUL inside ends it early, for it would begin the next field.
pub fn cstr(out: &mut Vec<u8>, text: &str) {
    let bytes = text.as_bytes();
    out.extend_from_slice(bytes.split(|byte| *byte == 0).next().unwrap_or_default());
    out.push(0);
}

fn count(out: &mut Vec<u8>, number: usize) {
    out.extend_from_slice(&u16::try_from(number).unwrap_or(u16::MAX).to_be_bytes());
}

fn sized(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(&u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes());
    out.extend_from_slice(bytes);
}

/// ErrorResponse.
pub fn error(out: &mut Vec<u8>, error: &ClientError) {
    let severity = if error.fatal { "FATAL" } else { "ERROR" };
    message(out, b'E', |out| report(out, severity, error));
}

/// NoticeResponse of severity `WARNING`.
pub fn warning(out: &mut Vec<u8>, notice: &ClientError) {
    message(out, b'N', |out| report(out, "WARNING", notice));
}

fn report(out: &mut Vec<u8>, severity: &str, error: &ClientError) {
    let mut field = |kind: u8, text: &str| {
        out.push(kind);
        cstr(out, text);
    };
    field(b'S', severity);
    field(b'V', severity);
    field(b'C', error.sqlstate.as_str());
    field(b'M', &error.message);
    if let Some(detail) = &error.detail {
        field(b'D', detail);
    }
    if let Some(hint) = &error.hint {
        field(b'H', hint);
    }
    out.push(0);
}

/// AuthenticationOk.
pub fn authentication_ok(out: &mut Vec<u8>) {
    authentication(out, 0, &[]);
}

/// AuthenticationCleartextPassword.
pub fn authentication_cleartext(out: &mut Vec<u8>) {
    authentication(out, 3, &[]);
}

/// AuthenticationMD5Password.
pub fn authentication_md5(out: &mut Vec<u8>, salt: [u8; 4]) {
    authentication(out, 5, &salt);
}

/// AuthenticationSASL with the mechanisms that we have; `plus`: also with channel binding, which the client is to prefer.
pub fn authentication_sasl(out: &mut Vec<u8>, plus: bool) {
    let mechanisms: &[u8] =
        if plus { b"SCRAM-SHA-256-PLUS\0SCRAM-SHA-256\0\0" } else { b"SCRAM-SHA-256\0\0" };
    authentication(out, 10, mechanisms);
}

/// AuthenticationSASLContinue.
pub fn authentication_sasl_continue(out: &mut Vec<u8>, data: &[u8]) {
    authentication(out, 11, data);
}

/// AuthenticationSASLFinal.
pub fn authentication_sasl_final(out: &mut Vec<u8>, data: &[u8]) {
    authentication(out, 12, data);
}

fn authentication(out: &mut Vec<u8>, kind: u32, data: &[u8]) {
    message(out, b'R', |out| {
        out.extend_from_slice(&kind.to_be_bytes());
        out.extend_from_slice(data);
    });
}

/// NegotiateProtocolVersion: `version` is the newest that we speak, `options` those that we do not know.
pub fn negotiate_protocol_version(out: &mut Vec<u8>, version: u32, options: &[Box<str>]) {
    message(out, b'v', |out| {
        out.extend_from_slice(&version.to_be_bytes());
        out.extend_from_slice(&u32::try_from(options.len()).unwrap_or(u32::MAX).to_be_bytes());
        options.iter().for_each(|option| cstr(out, option));
    });
}

/// ParameterStatus.
pub fn parameter_status(out: &mut Vec<u8>, name: &str, value: &str) {
    message(out, b'S', |out| {
        cstr(out, name);
        cstr(out, value);
    });
}

/// BackendKeyData. Protocol 3.0 knows keys of four bytes only.
pub fn backend_key_data(out: &mut Vec<u8>, pid: u32, key: &[u8]) {
    message(out, b'K', |out| {
        out.extend_from_slice(&pid.to_be_bytes());
        out.extend_from_slice(key);
    });
}

/// ReadyForQuery.
pub fn ready_for_query(out: &mut Vec<u8>, state: TxState) {
    let byte = match state {
        TxState::Idle => b'I',
        TxState::Open => b'T',
        TxState::Failed => b'E',
    };
    message(out, b'Z', |out| out.push(byte));
}

/// NotificationResponse: `text` is the channel and the payload, each with a NUL behind it.
pub fn notification(out: &mut Vec<u8>, pid: u32, text: &[u8]) {
    message(out, b'A', |out| {
        out.extend_from_slice(&pid.to_be_bytes());
        out.extend_from_slice(text);
    });
}

/// CommandComplete.
pub fn command_complete(out: &mut Vec<u8>, tag: &str) {
    message(out, b'C', |out| cstr(out, tag));
}

/// RowDescription of text columns.
pub fn row_description(out: &mut Vec<u8>, columns: &[&str]) {
    message(out, b'T', |out| {
        count(out, columns.len());
        for name in columns {
            cstr(out, name);
            out.extend_from_slice(&[0; 6]); // no table, no column of it
            out.extend_from_slice(&OID_TEXT.to_be_bytes());
            out.extend_from_slice(&(-1_i16).to_be_bytes()); // variable length
            out.extend_from_slice(&(-1_i32).to_be_bytes()); // no modifier
            out.extend_from_slice(&[0; 2]); // text format
        }
    });
}

/// DataRow; `None` is NULL.
pub fn data_row<'a>(out: &mut Vec<u8>, values: impl ExactSizeIterator<Item = Option<&'a [u8]>>) {
    message(out, b'D', |out| {
        count(out, values.len());
        for value in values {
            match value {
                Some(bytes) => sized(out, bytes),
                None => out.extend_from_slice(&(-1_i32).to_be_bytes()),
            }
        }
    });
}

/// ParameterDescription.
pub fn parameter_description(out: &mut Vec<u8>, types: &[u32]) {
    message(out, b't', |out| {
        count(out, types.len());
        types.iter().for_each(|oid| out.extend_from_slice(&oid.to_be_bytes()));
    });
}

/// ParseComplete.
pub fn parse_complete(out: &mut Vec<u8>) {
    message(out, b'1', |_| {});
}

/// BindComplete.
pub fn bind_complete(out: &mut Vec<u8>) {
    message(out, b'2', |_| {});
}

/// CloseComplete.
pub fn close_complete(out: &mut Vec<u8>) {
    message(out, b'3', |_| {});
}

/// NoData.
pub fn no_data(out: &mut Vec<u8>) {
    message(out, b'n', |_| {});
}

/// EmptyQueryResponse.
pub fn empty_query_response(out: &mut Vec<u8>) {
    message(out, b'I', |_| {});
}

/// PortalSuspended.
pub fn portal_suspended(out: &mut Vec<u8>) {
    message(out, b's', |_| {});
}

/// Query.
pub fn query(out: &mut Vec<u8>, text: &str) {
    message(out, b'Q', |out| cstr(out, text));
}

/// Parse, its text and name as bytes: they are the client's and need not be UTF-8.
pub fn parse(out: &mut Vec<u8>, name: &[u8], text: &[u8], types: &[u32]) {
    message(out, b'P', |out| {
        for field in [name, text] {
            out.extend_from_slice(field);
            out.push(0);
        }
        count(out, types.len());
        types.iter().for_each(|oid| out.extend_from_slice(&oid.to_be_bytes()));
    });
}

/// Bind with parameters and results as text.
pub fn bind<'a>(
    out: &mut Vec<u8>,
    portal: &str,
    statement: &str,
    values: impl ExactSizeIterator<Item = Option<&'a [u8]>>,
) {
    message(out, b'B', |out| {
        cstr(out, portal);
        cstr(out, statement);
        count(out, 0);
        count(out, values.len());
        for value in values {
            match value {
                Some(bytes) => sized(out, bytes),
                None => out.extend_from_slice(&(-1_i32).to_be_bytes()),
            }
        }
        count(out, 0);
    });
}

/// Describe of a statement (`b'S'`) or portal (`b'P'`).
pub fn describe(out: &mut Vec<u8>, kind: u8, name: &[u8]) {
    named(out, b'D', kind, name);
}

/// Close of a statement (`b'S'`) or portal (`b'P'`).
pub fn close(out: &mut Vec<u8>, kind: u8, name: &[u8]) {
    named(out, b'C', kind, name);
}

fn named(out: &mut Vec<u8>, tag: u8, kind: u8, name: &[u8]) {
    message(out, tag, |out| {
        out.push(kind);
        out.extend_from_slice(name);
        out.push(0);
    });
}

/// Execute; 0 rows = all.
pub fn execute(out: &mut Vec<u8>, portal: &str, rows: u32) {
    message(out, b'E', |out| {
        cstr(out, portal);
        out.extend_from_slice(&rows.to_be_bytes());
    });
}

/// Sync.
pub fn sync(out: &mut Vec<u8>) {
    message(out, b'S', |_| {});
}

/// Flush.
pub fn flush(out: &mut Vec<u8>) {
    message(out, b'H', |_| {});
}

/// Terminate.
pub fn terminate(out: &mut Vec<u8>) {
    message(out, b'X', |_| {});
}

/// PasswordMessage.
pub fn password(out: &mut Vec<u8>, password: &str) {
    message(out, b'p', |out| cstr(out, password));
}

/// SASLInitialResponse for SCRAM-SHA-256.
pub fn sasl_initial(out: &mut Vec<u8>, data: &[u8]) {
    message(out, b'p', |out| {
        cstr(out, "SCRAM-SHA-256");
        sized(out, data);
    });
}

/// SASLResponse.
pub fn sasl_response(out: &mut Vec<u8>, data: &[u8]) {
    message(out, b'p', |out| out.extend_from_slice(data));
}

/// StartupMessage of protocol 3.0.
pub fn startup<'a>(out: &mut Vec<u8>, parameters: impl IntoIterator<Item = (&'a str, &'a str)>) {
    untagged(out, |out| {
        out.extend_from_slice(&super::PROTOCOL_3_0.to_be_bytes());
        for (name, value) in parameters {
            cstr(out, name);
            cstr(out, value);
        }
        out.push(0);
    });
}

/// SSLRequest.
pub fn ssl_request(out: &mut Vec<u8>) {
    untagged(out, |out| out.extend_from_slice(&super::SSL_REQUEST.to_be_bytes()));
}

/// CancelRequest.
pub fn cancel_request(out: &mut Vec<u8>, pid: u32, key: &[u8]) {
    untagged(out, |out| {
        out.extend_from_slice(&super::CANCEL_REQUEST.to_be_bytes());
        out.extend_from_slice(&pid.to_be_bytes());
        out.extend_from_slice(key);
    });
}
