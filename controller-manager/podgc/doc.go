// Package podgc deletes pods that nobody else will: those of nodes that are no more, those that were to end before they
// were bound, those ending on a node that is declared out of service, and the oldest ended ones when there are too many.
//
// It owns: nothing; it deletes pods, by force. It is woken by: pods in such a state, and nodes that go or are tainted.
// It never touches: pods whose node exists and is in service.
package podgc
