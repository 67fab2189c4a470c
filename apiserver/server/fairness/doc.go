// Package fairness shares the server among those who ask: API Priority and Fairness, configured by the FlowSchema and
// PriorityLevelConfiguration objects of flowcontrol.apiserver.k8s.io.
//
// A request is classified by the first FlowSchema that matches, which names a priority level and tells flows apart (by
// user or by namespace). A level has a number of seats. While one is free and nobody waits, a request passes at the
// cost of one lock. Otherwise it waits in its own flow's line, and a free seat goes to the flow that holds the fewest,
// so that a thousand requests of one user delay nobody else by more than the one that runs. A level whose neighbours
// are idle borrows from what they lend.
//
// Upstream hashes flows into a fixed number of queues and hands out seats by virtual time; a line per waiting flow is
// exact and needs memory only for flows that wait. The widths of requests (a list taking several seats) are left out:
// lists are copied from ready bytes here.
package fairness
