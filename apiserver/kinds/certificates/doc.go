// Package certificates holds the rows of certificate signing requests and trust bundles.
package certificates
