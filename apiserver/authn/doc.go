// Package authn finds out who is calling: a front proxy that names the user in headers, a client certificate, a service
// account token, a bootstrap token, or nobody (system:anonymous).
//
// A credential that is wrong is refused, and never treated as if it had not been sent. Tokens that were found good are
// remembered for ten seconds, as upstream does: that is how long a token outlives the object that it is bound to.
package authn
