package storage

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/skiff-project/skiff/apiserver/kinds"
	"github.com/skiff-project/skiff/apiserver/kinds/internal/check"
	"github.com/skiff-project/skiff/apiserver/kinds/internal/podspec"
)

// How much a class may tell its driver.
const (
	mostParameters    = 512
	longestParameters = 256 << 10 // bytes, keys and values together
)

var (
	parametersPath = field.NewPath("parameters")
	topologiesPath = field.NewPath("allowedTopologies")
	driverNamePath = field.NewPath("driverName")
)

func validateStorageClass(_ *kinds.Request, c *storagev1.StorageClass) field.ErrorList {
	var l check.List
	driver(&l, field.NewPath("provisioner"), c.Provisioner)
	parameters(&l, c.Parameters)
	if p := c.ReclaimPolicy; p != nil && *p != "" {
		check.OneOf(&l, field.NewPath("reclaimPolicy"), *p, corev1.PersistentVolumeReclaimDelete, corev1.PersistentVolumeReclaimRetain)
	}
	if m := field.NewPath("volumeBindingMode"); c.VolumeBindingMode == nil {
		l.Add(field.Required(m, ""))
	} else {
		check.OneOf(&l, m, *c.VolumeBindingMode, storagev1.VolumeBindingImmediate, storagev1.VolumeBindingWaitForFirstConsumer)
	}
	topologies(&l, c.AllowedTopologies, topologiesPath)
	return l.ErrorList
}

func driver(l *check.List, at *field.Path, name string) {
	if l.Require(at, name) {
		l.Qualified(at, strings.ToLower(name))
	}
}

func parameters(l *check.List, set map[string]string) {
	at := parametersPath
	if len(set) > mostParameters {
		l.Add(field.TooLong(at, "", mostParameters))
		return
	}
	size := 0
	for key, value := range set {
		if key == "" {
			l.Add(field.Invalid(at, key, "field can not be empty."))
		}
		size += len(key) + len(value)
	}
	if size > longestParameters {
		l.Add(field.TooLong(at, "", longestParameters))
	}
}

func topologies(l *check.List, terms []corev1.TopologySelectorTerm, at *field.Path) {
	var seen []map[string]sets.Set[string]
	for i := range terms {
		at := at.Index(i).Child("matchLabelExpressions")
		term := map[string]sets.Set[string]{}
		for j := range terms[i].MatchLabelExpressions {
			e, at := &terms[i].MatchLabelExpressions[j], at.Index(j)
			values := sets.New[string]()
			if len(e.Values) == 0 {
				l.Add(field.Required(at.Child("values"), ""))
			}
			for n, v := range e.Values {
				if values.Has(v) {
					l.Add(field.Duplicate(at.Child("values").Index(n), v))
				}
				values.Insert(v)
			}
			l.LabelKey(at.Child("key"), e.Key)
			if _, has := term[e.Key]; has {
				l.Add(field.Duplicate(at.Child("key"), e.Key))
			}
			term[e.Key] = values
		}
		// Upstream compares each term with as many empty ones as there are terms, so one that says nothing is never new.
		for range len(terms) {
			if len(term) == 0 {
				l.Add(field.Duplicate(at, ""))
			}
		}
		for _, other := range seen {
			if apiequality.Semantic.DeepEqual(term, other) {
				l.Add(field.Duplicate(at, ""))
			}
		}
		seen = append(seen, term)
	}
}

func validateStorageClassUpdate(_ *kinds.Request, c, old *storagev1.StorageClass) field.ErrorList {
	var l check.List
	fixed := func(name string, now, before any) {
		if !apiequality.Semantic.DeepEqual(now, before) {
			l.Fixed(field.NewPath(name))
		}
	}
	fixed("parameters", c.Parameters, old.Parameters)
	fixed("provisioner", c.Provisioner, old.Provisioner)
	fixed("reclaimPolicy", c.ReclaimPolicy, old.ReclaimPolicy)
	fixed("volumeBindingMode", c.VolumeBindingMode, old.VolumeBindingMode)
	return l.ErrorList
}

func storageClassWarnings(_ *kinds.Request, c, _ *storagev1.StorageClass) []string {
	var out []string
	for i, term := range c.AllowedTopologies {
		for j, e := range term.MatchLabelExpressions {
			if text, old := podspec.DeprecatedNodeLabels[e.Key]; old {
				out = append(out, fmt.Sprintf("%s: %s", topologiesPath.Index(i).Child("matchLabelExpressions").Index(j).Child("key"), text))
			}
		}
	}
	return out
}

func validateAttributesClass(_ *kinds.Request, c *storagev1.VolumeAttributesClass) field.ErrorList {
	var l check.List
	driver(&l, driverNamePath, c.DriverName)
	parameters(&l, c.Parameters)
	if len(c.Parameters) == 0 {
		l.Add(field.Required(parametersPath, "must contain at least one key/value pair"))
	}
	return l.ErrorList
}

func validateAttributesClassUpdate(_ *kinds.Request, c, old *storagev1.VolumeAttributesClass) field.ErrorList {
	var l check.List
	if c.DriverName != old.DriverName {
		l.Add(field.Forbidden(driverNamePath, "updates to driverName are forbidden."))
	}
	if !apiequality.Semantic.DeepEqual(c.Parameters, old.Parameters) {
		l.Add(field.Forbidden(parametersPath, "updates to parameters are forbidden."))
	}
	return l.ErrorList
}

func capacityWarnings(_ *kinds.Request, c, _ *storagev1.CSIStorageCapacity) []string {
	if c.NodeTopology == nil {
		return nil
	}
	var out []string
	at := field.NewPath("nodeTopology")
	for i, e := range c.NodeTopology.MatchExpressions {
		if text, old := podspec.DeprecatedNodeLabels[e.Key]; old {
			out = append(out, fmt.Sprintf("%s: %s is %s", at.Child("matchExpressions").Index(i).Child("key"), e.Key, text))
		}
	}
	for _, key := range slices.Sorted(maps.Keys(c.NodeTopology.MatchLabels)) {
		if text, old := podspec.DeprecatedNodeLabels[key]; old {
			out = append(out, fmt.Sprintf("%s: %s", at.Child("matchLabels").Child(key), text))
		}
	}
	return out
}
