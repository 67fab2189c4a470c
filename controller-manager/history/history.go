package history

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"maps"
	"slices"
	"strconv"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/rand"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"

	"github.com/skiff-project/skiff/controller-manager/control"
)

// hashLabel is the label of a revision with the hash of its data.
const hashLabel = "controller.kubernetes.io/hash"

// Data answers the bytes that stand for template: a patch that replaces the template of a workload.
func Data(template *corev1.PodTemplateSpec) ([]byte, error) {
	text, err := json.Marshal(template)
	if err != nil {
		return nil, err
	}
	var fields map[string]any // sorts the keys
	if err := json.Unmarshal(text, &fields); err != nil {
		return nil, err
	}
	fields["$patch"] = "replace"
	return json.Marshal(map[string]any{"spec": map[string]any{"template": fields}})
}

// Template is the inverse of Data.
func Template(revision *appsv1.ControllerRevision) (*corev1.PodTemplateSpec, error) {
	var data struct {
		Spec struct {
			Template corev1.PodTemplateSpec `json:"template"`
		} `json:"spec"`
	}
	if err := json.Unmarshal(revision.Data.Raw, &data); err != nil {
		return nil, fmt.Errorf("revision %s/%s: %w", revision.Namespace, revision.Name, err)
	}
	return &data.Spec.Template, nil
}

// Same says that two revisions stand for the same template.
func Same(a, b *appsv1.ControllerRevision) bool { return bytes.Equal(a.Data.Raw, b.Data.Raw) }

// New answers the revision of owner with that data. Its name ends in a hash of the data and the number of collisions.
func New(owner metav1.Object, kind schema.GroupVersionKind, template map[string]string, data []byte, number int64, collisions int32) *appsv1.ControllerRevision {
	sum := fnv.New32()
	sum.Write(data)
	sum.Write([]byte(strconv.Itoa(int(collisions))))
	hash := rand.SafeEncodeString(fmt.Sprint(sum.Sum32()))
	r := Named(owner, kind, template, data, number, hash)
	r.Labels[hashLabel] = hash
	return r
}

// Named is New with a hash that was computed otherwise.
func Named(owner metav1.Object, kind schema.GroupVersionKind, template map[string]string, data []byte, number int64, hash string) *appsv1.ControllerRevision {
	const maxPrefix = 223
	prefix := owner.GetName()
	r := &appsv1.ControllerRevision{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: owner.GetNamespace(), Name: prefix[:min(len(prefix), maxPrefix)] + "-" + hash,
			Labels: maps.Clone(template), Annotations: maps.Clone(owner.GetAnnotations()),
			OwnerReferences: []metav1.OwnerReference{control.Reference(owner, kind)},
		},
		Data: runtime.RawExtension{Raw: data}, Revision: number,
	}
	if r.Labels == nil {
		r.Labels = map[string]string{}
	}
	return r
}

// Next is the number after the last of revisions, which are in order.
func Next(revisions []*appsv1.ControllerRevision) int64 {
	if len(revisions) == 0 {
		return 1
	}
	return revisions[len(revisions)-1].Revision + 1
}

// Keeper reads and writes revisions. Key is under which writes are noted, so that the next reconcile sees them.
type Keeper struct {
	Client kubernetes.Interface
	Index  cache.Indexer
	Writes *control.Writes
}

// List answers the revisions of owner in order, after adopting those that it selects and nobody has.
func (k Keeper) List(ctx context.Context, key string, owner metav1.Object, kind schema.GroupVersionKind, selector labels.Selector, live func(ctx context.Context) (metav1.Object, error)) ([]*appsv1.ControllerRevision, error) {
	candidates := control.OwnedBy[*appsv1.ControllerRevision](k.Index, owner.GetUID())
	for _, r := range control.Orphans[*appsv1.ControllerRevision](k.Index, owner.GetNamespace()) {
		if selector.Matches(labels.Set(r.Labels)) {
			candidates = append(candidates, r)
		}
	}
	revisions, err := control.Claim[*appsv1.ControllerRevision]{
		Owner: owner, Kind: kind, Selector: selector, Live: live,
		Patch: func(ctx context.Context, r *appsv1.ControllerRevision, patch []byte) error {
			patched, err := k.Client.AppsV1().ControllerRevisions(r.Namespace).Patch(ctx, r.Name, types.StrategicMergePatchType, patch, metav1.PatchOptions{})
			if err == nil {
				k.Writes.Wrote(key, k.Index, patched)
			}
			return err
		},
	}.From(ctx, candidates)
	if err != nil {
		return nil, err
	}
	slices.SortStableFunc(revisions, func(a, b *appsv1.ControllerRevision) int {
		return cmp.Or(cmp.Compare(a.Revision, b.Revision), a.CreationTimestamp.Compare(b.CreationTimestamp.Time), cmp.Compare(a.Name, b.Name))
	})
	return revisions, nil
}

// Create writes a new revision. If its name is taken by the same data that one is as good; by other data: collided.
func (k Keeper) Create(ctx context.Context, key string, r *appsv1.ControllerRevision) (created *appsv1.ControllerRevision, collided bool, err error) {
	api := k.Client.AppsV1().ControllerRevisions(r.Namespace)
	created, err = api.Create(ctx, r, metav1.CreateOptions{})
	if apierrors.IsAlreadyExists(err) {
		there, err := api.Get(ctx, r.Name, metav1.GetOptions{})
		if err != nil {
			return nil, false, err
		}
		if Same(there, r) && metav1.GetControllerOf(there) != nil && metav1.GetControllerOf(there).UID == r.OwnerReferences[0].UID {
			return there, false, nil
		}
		return nil, true, nil
	}
	if err == nil {
		k.Writes.Wrote(key, k.Index, created)
	}
	return created, false, err
}

// Renumber makes an old revision the newest: its template has come back.
func (k Keeper) Renumber(ctx context.Context, key string, r *appsv1.ControllerRevision, number int64) (*appsv1.ControllerRevision, error) {
	if r.Revision == number {
		return r, nil
	}
	updated := r.DeepCopy()
	updated.Revision = number
	written, err := k.Client.AppsV1().ControllerRevisions(r.Namespace).Update(ctx, updated, metav1.UpdateOptions{})
	if err == nil {
		k.Writes.Wrote(key, k.Index, written)
	}
	return written, err
}

// Truncate deletes the oldest revisions that are not live, until limit of them are left.
func (k Keeper) Truncate(ctx context.Context, revisions []*appsv1.ControllerRevision, live map[string]bool, limit int) error {
	var old []*appsv1.ControllerRevision
	for _, r := range revisions {
		if !live[r.Name] {
			old = append(old, r)
		}
	}
	for _, r := range old[:max(len(old)-limit, 0)] {
		err := k.Client.AppsV1().ControllerRevisions(r.Namespace).Delete(ctx, r.Name, *metav1.NewPreconditionDeleteOptions(string(r.UID)))
		if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
			return err
		}
	}
	return nil
}
