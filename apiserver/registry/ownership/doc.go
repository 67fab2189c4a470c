// Package ownership keeps metadata.managedFields: who set which field of an object, by which operation, through which
// version and subresource. It is what server-side apply decides by, and is written with every write.
//
// Applies go through apimachinery's field manager. Plain creates and updates, which are nearly all writes, are
// recorded by a walker of our own (walk.go), which yields the same and costs a small part of the time: one pass over
// the old and the new Go value along a plan that is made once per type from the same schema.
package ownership
