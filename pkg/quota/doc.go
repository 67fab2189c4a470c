// Package quota says what an object costs under a ResourceQuota, and which quotas it falls under: what admission, which
// charges, and the quota controller, which counts, must agree on.
package quota
