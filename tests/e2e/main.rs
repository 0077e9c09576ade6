//! The whole server from outside, through its real doors.

mod command_line;
