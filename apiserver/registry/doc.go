// Package registry is the one write path: whatever changes an object goes through it, be it a client's request, a hook
// of another kind (Store) or the server itself.
//
// A write decodes nothing and answers nothing by itself; packages wire and routes do. It takes an object of the kind's
// hub type, defaulted, and
//
//	records who set which field (package ownership),
//	lets admission change it,
//	lets the kind reserve what lives elsewhere (Begin),
//	prepares it (status kept or dropped, generation counted, names made),
//	validates it,
//	lets admission refuse it,
//	writes it in one etcd transaction that compares the revision,
//
// and returns the bytes that the cache will serve.
//
// The current state comes from the watch cache, so that an update costs one round trip. That state may be old. So a
// refusal that was computed from it is computed again on a fresh read before it is given, and a write that succeeds has
// compared the revision: nothing is ever decided by what is no longer true.
package registry
