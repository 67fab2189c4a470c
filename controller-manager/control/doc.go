// Package control is what all controllers are made of: the loop that reconciles one key at a time with back-off, the
// guard against caches that have not seen a controller's own writes yet, adoption and release of owned objects, creation
// in growing batches, and the facts about pods that several controllers count.
//
// A controller never acts on the event that woke it: an event only names the object to look at. Caches are read, the gap
// between what is and what should be is computed by a pure function, and closed by writes. Two things make that sound
// although caches lag behind: no loop starts before its caches have synced, and no key is reconciled before the caches
// hold what its last reconcile wrote (Writes).
package control
