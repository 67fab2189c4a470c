// Command golden asks our API server what kube-apiserver v1.37.2 was once asked, and counts the answers that are equal.
//
// testdata/answers.jsonl.gz holds 4,075 cases (28,639 requests) over every GA kind, each with upstream's answers under
// default admission and RBAC, with no controllers running. A case runs alone in a new namespace and with a prefix of its
// own for cluster-scoped names (play.go). What a server chooses (times, uids, addresses) is replaced by placeholders
// before comparison (marks.go, normal.go). An answer is judged on three levels (compare.go): code and reason; messages,
// causes and warnings; whole objects and table rows.
//
// The corpus is a sample of upstream's behaviour, not a specification to fit to: a difference is a reason to look up the
// rule behind it. testdata/ratchet.json keeps the figures that were reached; they may only rise (ratchet.go). What is left
// and why stands in docs/compatibility.md.
package main
