// Package cleaning deletes certificate requests that have served their purpose: an hour after they were decided, a day after
// they were made if nobody decided, and when the certificate has expired.
//
// It owns: nothing; it deletes CertificateSigningRequests. It is woken by: them, and by the time at which one is due.
package cleaning
