// Package clusterroleaggregation fills ClusterRoles that are defined as the sum of others (admin, edit and view above all)
// with the rules of those that their selectors find.
//
// It owns: the rules of ClusterRoles with an aggregationRule. It is woken by: ClusterRoles.
// It never touches: the rules of any other role.
package clusterroleaggregation
