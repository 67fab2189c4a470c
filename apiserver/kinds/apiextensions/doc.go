// Package apiextensions holds the row of CustomResourceDefinitions.
package apiextensions
