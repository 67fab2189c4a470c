// Package request knows what one HTTP request asks for: which verb on which resource, by whom. It is computed once, at
// the front of the handler chain, and travels in the request's context.
package request
