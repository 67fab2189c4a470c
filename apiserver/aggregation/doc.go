// Package aggregation serves the groups and versions that APIServices give to other servers: it asks those servers what
// they have, tells clients of it in discovery and OpenAPI, says in each APIService's status whether its server answers,
// and hands requests on with the user that they came from. A metrics server is the usual one.
//
// The APIServices of what this server has itself are made here too, since clients list them.
package aggregation
