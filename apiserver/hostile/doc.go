// Package hostile holds tests with clients that mean no good, or whose programs are broken: bodies that are no objects,
// tokens that are none, clients that do not read what they asked for. Whatever they send, the answer is theirs to bear (4xx),
// and neither time nor memory of the server. There is nothing in it but tests.
package hostile
