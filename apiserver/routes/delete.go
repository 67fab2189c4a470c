package routes

import (
	"net/http"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func (c *call) delete() {
	accepted, ok := c.accepted()
	if !ok {
		return
	}
	opts, err := c.deleteOptions()
	if err != nil {
		c.fail(err)
		return
	}
	w := c.write()
	w.Options, w.DryRun = opts, len(opts.DryRun) > 0
	result, err := c.res.Delete(c.r.Context(), w, opts)
	if err != nil {
		c.fail(err)
		return
	}
	code := http.StatusOK
	if !result.Deleted && opts.OrphanDependents != nil && !*opts.OrphanDependents {
		code = http.StatusAccepted
	}
	if status, ok := result.Object.(*metav1.Status); ok {
		status.Code = 0
	}
	c.answer(code, accepted, result)
}

func (c *call) deleteCollection() {
	accepted, ok := c.accepted()
	if !ok {
		return
	}
	s, err := c.selection(false)
	if err != nil {
		c.fail(err)
		return
	}
	opts, err := c.deleteOptions()
	if err != nil {
		c.fail(err)
		return
	}
	if s.Watch {
		c.fail(apierrors.NewBadRequest("watch is not a deletion"))
		return
	}
	w := c.write()
	w.Options, w.DryRun = opts, len(opts.DryRun) > 0
	list, err := c.res.DeleteCollection(c.r.Context(), w, c.listOptions(s), opts)
	if err != nil {
		c.fail(err)
		return
	}
	c.answerList(accepted, list)
}
