// Package authz decides who may do what: members of system:masters everything, nodes what the pods on them need, all
// others what RBAC's roles and bindings grant. Nothing is ever denied by a rule: what nobody allows is forbidden.
//
// Roles and bindings are kept decoded and indexed by subject, so that a decision looks only at what its user is bound to.
// A decision waits for those that this server has acknowledged and that the index does not know yet, a millisecond as a rule.
// What a node may read is looked up when it asks, among the pods of that node, rather than kept as a graph of everything:
// a node asks rarely (its agent watches single objects), and a hundred pods are looked through in a moment.
package authz
