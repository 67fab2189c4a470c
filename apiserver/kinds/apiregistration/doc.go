// Package apiregistration holds the row of APIServices.
package apiregistration
