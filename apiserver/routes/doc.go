// Package routes answers HTTP requests for objects: it finds the kind in the table, the verb in the method, the options
// in the query, and lets the registry do the work. Nothing in it is about a kind.
//
// A path is one of a handful of shapes below /api/VERSION or /apis/GROUP/VERSION, each with or without
// namespaces/NAMESPACE in front:
//
//	RESOURCE                        list, watch, create, deletecollection
//	RESOURCE/NAME                   get, update, patch, delete
//	RESOURCE/NAME/SUBRESOURCE       what the row's Subresource says
//	RESOURCE/NAME/proxy/PATH        passed on
//	watch/RESOURCE[/NAME]           an old form of watch
//
// Which shape a path has was found out by package request, in front of the handler chain; a router that matches patterns
// again for each request would only do it twice.
package routes
