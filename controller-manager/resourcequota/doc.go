// Package resourcequota counts what the objects of a namespace use of its ResourceQuotas.
//
// It owns: the status of ResourceQuotas, together with admission, which charges what is created.
// It is woken by: quotas, and pods, services, claims and objects of any counted kind that go. It never touches: objects.
//
// Admission raises the numbers, this controller mostly lowers them: so a deletion is what wakes it. How many objects of a
// kind there are it asks the server, which knows without listing them.
package resourcequota
