package podspec

import "k8s.io/apimachinery/pkg/util/validation/field"

// A check of a spec asks for some two hundred paths, and when nothing is wrong nobody reads them. So checks run without
// paths, which is to say with nil, and again with them if they found something. These are the methods of a path for that.

func child(at *field.Path, name string, more ...string) *field.Path {
	if at == nil {
		return nil
	}
	return at.Child(name, more...)
}

func index(at *field.Path, i int) *field.Path {
	if at == nil {
		return nil
	}
	return at.Index(i)
}

func entry(at *field.Path, key string) *field.Path {
	if at == nil {
		return nil
	}
	return at.Key(key)
}

// withPaths is the outcome of a check, which runs with paths below at only where it finds something without.
func withPaths[T any](at *field.Path, run func(at *field.Path) []T) []T {
	if len(run(nil)) == 0 {
		return nil
	}
	return run(at)
}
