// Package h2 serves HTTP/2 over TLS to an http.Handler, for connections that net/http has accepted and whose clients have
// chosen it (Server.Configure). Frames and header compression are golang.org/x/net's.
//
// net/http's own server hands every frame of an answer from the handler's goroutine to the connection's, and from there to one
// that writes, and writes TLS records of 4 kB, each by a system call of its own. For the small answers and events that an API
// server lives by, that was half of its processor time. Here
//
//   - a handler puts its frames into the connection's buffer itself, under a lock, and whoever finds nobody writing takes what
//     is there to the network (output.go): what other handlers have to say meanwhile goes with the next write, in one piece;
//   - records are of 16 kB, and those of one write leave by one system call (gather.go);
//   - requests that have arrived together are started together, with their bodies (conn.go), on goroutines that are kept, whose
//     stacks have grown to what a request needs (workers.go).
//
// One lock of a connection guards its streams, windows and buffers. What it is held for takes a microsecond; no system call is
// made under it. A peer holds no more memory than: its streams, their unread bodies (a window each, and one for all of them), and
// one buffer of what it has not taken yet. A connection whose peer takes nothing for StallTimeout is closed.
//
// The rules are RFC 9113's. Not there, as with net/http, are priorities, pushes and the upgrade from HTTP/1.1.
package h2
