// Package requests reads certificate requests: what the approving and the signing controller agree on about their contents.
package requests
