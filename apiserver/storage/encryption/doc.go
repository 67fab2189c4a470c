// Package encryption keeps objects encrypted in etcd, as an EncryptionConfiguration (apiserver.config.k8s.io/v1) says: for
// each list of resources a list of providers, of which the first writes and all read.
//
// # Bytes
//
// What is stored is upstream's to the byte, so that a kube-apiserver with the same file reads it and the other way round:
//
//	k8s:enc:aescbc:v1:KEY:     iv(16), AES-CBC with PKCS#7 padding
//	k8s:enc:aesgcm:v1:KEY:     nonce(12), AES-GCM; the key in etcd is authenticated with the value
//	k8s:enc:secretbox:v1:KEY:  nonce(24), XSalsa20 and Poly1305
//	k8s:enc:kms:v2:NAME:       EncryptedObject (envelope.go); its data: info(32), nonce(12), AES-GCM with a key derived
//	                           by HKDF from a seed, which the plugin of that name has encrypted
//	(nothing)                  identity; whatever does not begin with k8s:enc:
//
// # Rotation
//
// A value is stale if it would be written otherwise today: by another provider, another key, another key of the plugin's.
// An update that changes nothing then writes all the same (storage.Store.Stale), so that rewriting every object (kubectl
// get -A secrets -o json | kubectl replace -f -) moves it to the new key.
//
// # Reload
//
// With reloading on, the file is looked at every minute. A changed file that is good, and whose plugins answer, replaces
// the one in use at once for all requests; any other is reported and the old one stays. Plugins of the old one are let go
// when whatever was under way must have ended.
package encryption
