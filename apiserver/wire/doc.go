// Package wire is everything about bytes between the API server and its clients and its store: which format a request
// is in and an answer shall be in, strict decoding, lists put together from the bytes of their items, watch frames,
// tables, Status answers, and the values in etcd.
//
// It knows the kinds (their versions, defaults and columns) and nothing about requests' meaning: that is package
// routes for HTTP and package registry for writes.
package wire
