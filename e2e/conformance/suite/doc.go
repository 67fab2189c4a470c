// Package suite knows the tests of the official suite that count for conformance, runs some of them or all by
// Ginkgo, follows the run, and reads what came of it.
package suite
