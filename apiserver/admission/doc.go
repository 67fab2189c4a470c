// Package admission holds the rules that change or refuse a write after authorization and before it is stored, one
// file a rule. The registry calls Mutate after defaulting, then validates, then calls Validate; a rule sees the object
// exactly as it will be stored.
package admission
