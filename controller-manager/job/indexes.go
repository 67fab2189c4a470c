package job

import (
	"slices"
	"strconv"
	"strings"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
)

// indexes is a set of completion indexes, as ranges in order that do not touch. It is written as 0-2,4,6,7.
type indexes []span

type span struct{ first, last int }

// parseIndexes reads what String writes, and leaves out what is not below limit. Nonsense counts as nothing: the field is
// ours, but others can write it.
func parseIndexes(text string, limit int) indexes {
	var all indexes
	for _, part := range strings.Split(text, ",") {
		from, to, ranged := strings.Cut(part, "-")
		first, err := strconv.Atoi(from)
		if err != nil || first < 0 {
			continue
		}
		last := first
		if ranged {
			if last, err = strconv.Atoi(to); err != nil {
				continue
			}
		}
		if last = min(last, limit-1); first <= last {
			all = all.union(indexes{{first, last}})
		}
	}
	return all
}

func (s indexes) String() string {
	var parts []string
	for _, r := range s {
		switch {
		case r.first == r.last:
			parts = append(parts, strconv.Itoa(r.first))
		case r.first+1 == r.last:
			parts = append(parts, strconv.Itoa(r.first), strconv.Itoa(r.last))
		default:
			parts = append(parts, strconv.Itoa(r.first)+"-"+strconv.Itoa(r.last))
		}
	}
	return strings.Join(parts, ",")
}

func (s indexes) count() int {
	n := 0
	for _, r := range s {
		n += r.last - r.first + 1
	}
	return n
}

func (s indexes) has(i int) bool {
	at, found := slices.BinarySearchFunc(s, i, func(r span, i int) int {
		switch {
		case r.last < i:
			return -1
		case r.first > i:
			return 1
		}
		return 0
	})
	return found && s[at].first <= i
}

// with answers s and the given indexes, which need no order.
func (s indexes) with(more []int) indexes {
	more = slices.Clone(more)
	slices.Sort(more)
	var added indexes
	for _, i := range more {
		added = append(added, span{i, i})
	}
	return s.union(added)
}

// union answers all of both.
func (s indexes) union(o indexes) indexes {
	all := slices.Concat(s, o)
	slices.SortFunc(all, func(a, b span) int { return a.first - b.first })
	var merged indexes
	for _, r := range all {
		if n := len(merged); n > 0 && r.first <= merged[n-1].last+1 {
			merged[n-1].last = max(merged[n-1].last, r.last)
		} else {
			merged = append(merged, r)
		}
	}
	return merged
}

// common is how many indexes are in both.
func (s indexes) common(o indexes) int {
	n := 0
	for i, j := 0, 0; i < len(s) && j < len(o); {
		n += max(min(s[i].last, o[j].last)-max(s[i].first, o[j].first)+1, 0)
		if s[i].last < o[j].last {
			i++
		} else {
			j++
		}
	}
	return n
}

// missing answers the first count indexes below limit that are not in s.
func (s indexes) missing(count, limit int) []int {
	var found []int
	next := 0
	for _, r := range append(slices.Clone(s), span{limit, limit}) {
		for ; next < min(r.first, limit) && len(found) < count; next++ {
			found = append(found, next)
		}
		next = max(next, r.last+1)
	}
	return found
}

// none is the index of a pod that has none.
const none = -1

// indexOf answers the completion index of a pod, none if it has none that counts for j.
func indexOf(pod *corev1.Pod, j *batchv1.Job) int {
	i, err := strconv.Atoi(pod.Annotations[batchv1.JobCompletionIndexAnnotation])
	if err != nil || i < 0 || j.Spec.Completions == nil || i >= int(*j.Spec.Completions) {
		return none
	}
	return i
}

func indexed(j *batchv1.Job) bool {
	return j.Spec.CompletionMode != nil && *j.Spec.CompletionMode == batchv1.IndexedCompletion
}

func perIndex(j *batchv1.Job) bool { return j.Spec.BackoffLimitPerIndex != nil }

// failureCount is how many failures before this one the index of a pod has had that counted, and that were ignored.
func failureCount(pod *corev1.Pod) (counted, ignored int32) {
	number := func(key string) int32 {
		n, err := strconv.ParseInt(pod.Annotations[key], 10, 32)
		if err != nil || n < 0 {
			return 0
		}
		return int32(n)
	}
	return number(batchv1.JobIndexFailureCountAnnotation), number(batchv1.JobIndexIgnoredFailureCountAnnotation)
}
