// Package raw is an HTTP/2 client that costs as little as one can: requests are written from bytes made before, answers are
// counted and not kept, windows are opened once and so wide that no credit is sent for each frame. On a machine whose
// processors the client shares with the server, this is what leaves the measured server most of them.
package raw
