// Package authentication holds the rows of reviews: questions about who somebody is, answered and never stored.
package authentication
