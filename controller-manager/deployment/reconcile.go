package deployment

import (
	"context"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"github.com/skiff-project/skiff/controller-manager/control"
)

func (c *Controller) reconcile(ctx context.Context, key string) error {
	if err := c.writes.Behind(key); err != nil {
		return err
	}
	namespace, name := control.SplitKey(key)
	cached, err := c.deployments.Deployments(namespace).Get(name)
	if err != nil {
		c.writes.Forget(key)
		return nil
	}
	r := &rollout{Controller: c, key: key, was: cached, d: cached.DeepCopy()}
	if len(r.d.Spec.Selector.MatchLabels)+len(r.d.Spec.Selector.MatchExpressions) == 0 {
		c.events.Event(r.d, corev1.EventTypeWarning, "SelectingAll", "This deployment is selecting all pods. A non-empty selector is required.")
		r.d.Status.ObservedGeneration = r.d.Generation
		return r.write(ctx, r.d.Status)
	}
	sets, err := r.claim(ctx)
	if err != nil {
		return err
	}
	r.new, r.old = split(r.d, sets)
	return r.step(ctx, sets)
}

// rollout is one look at one deployment. d is a copy on which the revision annotation and the conditions are changed as
// the step goes; write compares it with was, what the cache has, and writes once.
type rollout struct {
	*Controller
	key    string
	was, d *appsv1.Deployment
	new    *appsv1.ReplicaSet // nil until it exists
	old    []*appsv1.ReplicaSet
}

func (r *rollout) step(ctx context.Context, sets []*appsv1.ReplicaSet) error {
	now := r.env.Clock.Now()
	if r.d.DeletionTimestamp != nil {
		return r.finish(ctx, false)
	}
	pausedCondition(r.d, now)
	if r.d.Spec.Paused || resized(r.d, sets) {
		if err := r.adoptNew(ctx); err != nil {
			return err
		}
		if err := r.resize(ctx, scale(r.d, r.new, r.old)); err != nil {
			return err
		}
		if r.d.Spec.Paused {
			if err := r.cleanUp(ctx); err != nil {
				return err
			}
		}
		return r.finish(ctx, false)
	}
	if r.d.Spec.Strategy.Type == appsv1.RecreateDeploymentStrategyType {
		return r.recreate(ctx)
	}
	return r.roll(ctx)
}

func (r *rollout) roll(ctx context.Context) error {
	if err := r.ensureNew(ctx); err != nil {
		return err
	}
	steps := roll(r.d, r.new, r.old)
	if err := r.resize(ctx, steps); err != nil {
		return err
	}
	if len(steps) == 0 && complete(r.d, &r.was.Status) {
		if err := r.cleanUp(ctx); err != nil {
			return err
		}
	}
	return r.finish(ctx, true)
}

// recreate starts no new pod before the last old one has ended.
func (r *rollout) recreate(ctx context.Context) error {
	if err := r.adoptNew(ctx); err != nil {
		return err
	}
	var steps []resize
	for _, set := range active(r.old) {
		steps = append(steps, resize{set, 0})
	}
	if err := r.resize(ctx, steps); err != nil {
		return err
	}
	if len(steps) > 0 || r.oldPodsRun() {
		return r.finish(ctx, true)
	}
	if err := r.ensureNew(ctx); err != nil {
		return err
	}
	if err := r.resize(ctx, []resize{{r.new, desired(r.d)}}); err != nil {
		return err
	}
	if complete(r.d, &r.was.Status) {
		if err := r.cleanUp(ctx); err != nil {
			return err
		}
	}
	return r.finish(ctx, true)
}

func (r *rollout) oldPodsRun() bool {
	for _, set := range r.old {
		if set.Status.Replicas > 0 {
			return true
		}
		for _, pod := range control.OwnedBy[*corev1.Pod](r.podIndex, set.UID) {
			if !control.Ended(pod) {
				return true
			}
		}
	}
	return false
}

func (r *rollout) claim(ctx context.Context) ([]*appsv1.ReplicaSet, error) {
	selector, err := metav1.LabelSelectorAsSelector(r.d.Spec.Selector)
	if err != nil {
		return nil, fmt.Errorf("deployment %s has invalid label selector: %w", r.key, err)
	}
	candidates := control.OwnedBy[*appsv1.ReplicaSet](r.setIndex, r.d.UID)
	for _, set := range control.Orphans[*appsv1.ReplicaSet](r.setIndex, r.d.Namespace) {
		if selector.Matches(labels.Set(set.Labels)) {
			candidates = append(candidates, set)
		}
	}
	return control.Claim[*appsv1.ReplicaSet]{
		Owner: r.d, Kind: kind, Selector: selector,
		Live: func(ctx context.Context) (metav1.Object, error) {
			return r.env.Client.AppsV1().Deployments(r.d.Namespace).Get(ctx, r.d.Name, metav1.GetOptions{})
		},
		Patch: func(ctx context.Context, set *appsv1.ReplicaSet, patch []byte) error {
			patched, err := r.env.Client.AppsV1().ReplicaSets(set.Namespace).Patch(ctx, set.Name, types.StrategicMergePatchType, patch, metav1.PatchOptions{})
			if err == nil {
				r.writes.Wrote(r.key, r.setIndex, patched)
			}
			return err
		},
	}.From(ctx, candidates)
}

// adoptNew brings the annotations of an existing new set up to date, and takes its revision over.
func (r *rollout) adoptNew(ctx context.Context) error {
	if r.new == nil {
		return nil
	}
	set := r.new.DeepCopy()
	changed := annotate(r.d, set, nextRevision(r.old))
	if changed || set.Spec.MinReadySeconds != r.d.Spec.MinReadySeconds {
		set.Spec.MinReadySeconds = r.d.Spec.MinReadySeconds
		if err := r.updateSet(ctx, set); err != nil {
			return err
		}
	}
	r.setRevision(r.new.Annotations[revisionAnnotation])
	if hasDeadline(r.d) && getCondition(r.d.Status, appsv1.DeploymentProgressing) == nil {
		setCondition(&r.d.Status, condition(appsv1.DeploymentProgressing, corev1.ConditionTrue, reasonFound,
			fmt.Sprintf("Found new replica set %q", r.new.Name), r.env.Clock.Now()))
	}
	return nil
}

func (r *rollout) setRevision(revision string) {
	if r.d.Annotations == nil {
		r.d.Annotations = map[string]string{}
	}
	r.d.Annotations[revisionAnnotation] = revision
}

// ensureNew makes the set for d's template, unless there is one.
func (r *rollout) ensureNew(ctx context.Context) error {
	if r.new != nil {
		return r.adoptNew(ctx)
	}
	set := newSet(r.d, r.old)
	created, err := r.env.Client.AppsV1().ReplicaSets(r.d.Namespace).Create(ctx, set, metav1.CreateOptions{})
	switch {
	case apierrors.IsAlreadyExists(err):
		return r.collision(ctx, set.Name, err)
	case apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause):
		return err
	case err != nil:
		message := fmt.Sprintf("Failed to create new replica set %q: %v", set.Name, err)
		if hasDeadline(r.d) {
			setCondition(&r.d.Status, condition(appsv1.DeploymentProgressing, corev1.ConditionFalse, reasonCreateError, message, r.env.Clock.Now()))
			_ = r.write(ctx, r.d.Status) // why the set could not be made matters more than why that could not be written
		}
		r.events.Event(r.was, corev1.EventTypeWarning, reasonCreateError, message)
		return err
	}
	r.writes.Wrote(r.key, r.setIndex, created)
	r.new = created
	if size(created) > 0 {
		r.events.Eventf(r.was, corev1.EventTypeNormal, "ScalingReplicaSet", "Scaled up replica set %s from 0 to %d", created.Name, size(created))
	}
	r.setRevision(created.Annotations[revisionAnnotation])
	if hasDeadline(r.d) {
		setCondition(&r.d.Status, condition(appsv1.DeploymentProgressing, corev1.ConditionTrue, reasonCreated,
			fmt.Sprintf("Created new replica set %q", created.Name), r.env.Clock.Now()))
	}
	return nil
}

// collision looks who has the name that d's new set should get. If it is that set, all is well; if it is another template
// with the same hash, the count that goes into the hash is raised and the next try gets another name.
func (r *rollout) collision(ctx context.Context, name string, cause error) error {
	there, err := r.env.Client.AppsV1().ReplicaSets(r.d.Namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return err
	}
	if owner := metav1.GetControllerOfNoCopy(there); owner != nil && owner.UID == r.d.UID && sameTemplate(&there.Spec.Template, &r.d.Spec.Template) {
		r.new = there
		r.setRevision(there.Annotations[revisionAnnotation])
		return nil
	}
	r.d.Status.CollisionCount = ptr.To(ptr.Deref(r.d.Status.CollisionCount, 0) + 1)
	if err := r.write(ctx, r.d.Status); err != nil {
		return err
	}
	return cause
}

// resize writes the sizes that differ, and notes on each set what they were computed for.
func (r *rollout) resize(ctx context.Context, steps []resize) error {
	for _, step := range steps {
		set := step.set.DeepCopy()
		before := size(set)
		set.Spec.Replicas = ptr.To(step.size)
		if noted := annotateSize(r.d, set); !noted && before == step.size {
			continue
		}
		if err := r.updateSet(ctx, set); err != nil {
			return err
		}
		if before != step.size {
			way := "up"
			if step.size < before {
				way = "down"
			}
			r.events.Eventf(r.was, corev1.EventTypeNormal, "ScalingReplicaSet", "Scaled %s replica set %s from %d to %d", way, set.Name, before, step.size)
		}
	}
	return nil
}

// updateSet writes set and puts the answer in its place, so that what follows counts with it.
func (r *rollout) updateSet(ctx context.Context, set *appsv1.ReplicaSet) error {
	updated, err := r.env.Client.AppsV1().ReplicaSets(set.Namespace).Update(ctx, set, metav1.UpdateOptions{})
	if err != nil {
		return err
	}
	r.writes.Wrote(r.key, r.setIndex, updated)
	if r.new != nil && r.new.UID == updated.UID {
		r.new = updated
	}
	for i := range r.old {
		if r.old[i].UID == updated.UID {
			r.old[i] = updated
		}
	}
	return nil
}

func (r *rollout) cleanUp(ctx context.Context) error {
	for _, set := range surplus(r.d, r.old) {
		err := r.env.Client.AppsV1().ReplicaSets(set.Namespace).Delete(ctx, set.Name, *metav1.NewPreconditionDeleteOptions(string(set.UID)))
		if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
			return err
		}
	}
	return nil
}

// finish computes and writes the status. Only a roll-out is measured against the progress deadline.
func (r *rollout) finish(ctx context.Context, rolling bool) error {
	now := r.env.Clock.Now()
	s := count(r.d, r.new, r.old, now)
	if rolling {
		progress(&s, r.d, r.new, r.old, now)
		if again := recheck(r.d, &s, now); again > 0 {
			r.loop.AddAfter(r.key, again)
		}
	}
	return r.write(ctx, s)
}

func (r *rollout) write(ctx context.Context, s appsv1.DeploymentStatus) error {
	r.d.Status = s
	if equality.Semantic.DeepEqual(r.was.Status, s) && r.was.Annotations[revisionAnnotation] == r.d.Annotations[revisionAnnotation] {
		return nil
	}
	// The status endpoint of deployments takes annotations too; the revision has always been written through it.
	updated, err := r.env.Client.AppsV1().Deployments(r.d.Namespace).UpdateStatus(ctx, r.d, metav1.UpdateOptions{})
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return err
	}
	r.writes.Wrote(r.key, r.store, updated)
	return nil
}
