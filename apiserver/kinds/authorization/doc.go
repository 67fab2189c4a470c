// Package authorization holds the rows of reviews: questions about what somebody may do, answered and never stored.
package authorization
