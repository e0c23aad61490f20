package app

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"example.com/erlmcp/function/internal/cloudkms"
	"example.com/erlmcp/function/internal/config"
	"example.com/erlmcp/function/internal/receipt"
	"example.com/erlmcp/function/internal/receipt/journal"
)

// An operator is who vouches for chains and roots: the keys that sign now, and those by which signatures are judged.
type operator struct {
	vouching
	roots vouching  // has no key where that of chains vouches for roots too, or it is not known here
	since time.Time // of the first root that roots vouch for
}

// A vouching is a key of one purpose, and those before it.
type vouching struct {
	signer receipt.Signer // nil for none
	keys   []ed25519.PublicKey
	before func(context.Context) ([]ed25519.PublicKey, error) // further ones, which a service has; nil: none
}

// all returns the public keys, the one in use first.
func (v vouching) all(ctx context.Context) ([]ed25519.PublicKey, error) {
	if v.before == nil {
		return v.keys, nil
	}
	before, err := v.before(ctx)
	if err != nil {
		return nil, err
	}
	return append(slices.Clip(v.keys), before...), nil
}

// judges returns the keys by which signatures are judged.
func (o operator) judges(ctx context.Context) (all receipt.PublicKeys, err error) {
	if all.Keys, err = o.all(ctx); err != nil {
		return all, err
	}
	all.Roots.Since = o.since
	all.Roots.Keys, err = o.roots.all(ctx)
	return all, err
}

// rootSigner is who makes roots in this process: where they have a key of their own, who has that key.
func rootSigner(current func() operator) journal.RootSigner {
	return func(at time.Time) (receipt.Signer, bool) {
		o := current()
		if (receipt.RootKeys{Keys: o.roots.keys, Since: o.since}).Apart(at) {
			return o.roots.signer, o.roots.signer != nil
		}
		return o.signer, true
	}
}

// keptKeys asks for keys when they are first needed, so that no start waits for them, and no more once it has them.
func keptKeys(ask func(context.Context) ([]ed25519.PublicKey, error)) func(context.Context) ([]ed25519.PublicKey, error) {
	var mu sync.Mutex
	var keys []ed25519.PublicKey
	var known bool
	return func(ctx context.Context) (_ []ed25519.PublicKey, err error) {
		mu.Lock()
		defer mu.Unlock()
		if !known {
			keys, err = ask(ctx)
			known = err == nil
		}
		return keys, err
	}
}

// keyTimeout is for a service that keeps the operator's keys to say which they are. A start does not go on without.
const keyTimeout = 5 * time.Second

// openOperator returns who vouches for chains and roots, as it is now: nobody where the settings name no key.
func openOperator(ctx context.Context, cfg *config.Config, o *Options) (func() operator, error) {
	ctx, done := context.WithTimeout(ctx, keyTimeout)
	defer done()
	chains, err := openKey(ctx, o, keyOf{"RECEIPT_KEY_FILE", cfg.ReceiptKeyFile, "RECEIPT_KMS_KEY", cfg.ReceiptKMSKey}, receipt.ParseSigner)
	if err != nil {
		return nil, err
	}
	roots, err := openKey(ctx, o, keyOf{"RECEIPT_ROOT_KEY_FILE", cfg.RootKeyFile, "RECEIPT_ROOT_KMS_KEY", cfg.RootKMSKey}, receipt.ParseRootSigner)
	if err != nil {
		return nil, err
	}
	for _, k := range roots().keys {
		if slices.ContainsFunc(chains().keys, func(other ed25519.PublicKey) bool { return k.Equal(other) }) {
			return nil, errors.New("RECEIPT_ROOT_KEY_FILE: has the key of chains, which every process that writes receipts has: make another one for roots")
		}
	}
	return func() operator { return operator{chains(), roots(), cfg.RootsSince} }, nil
}

// keyOf is where a key is by the settings: in a file, or in Cloud KMS, or there is none.
type keyOf struct{ fileSetting, file, kmsSetting, kms string }

func openKey(ctx context.Context, o *Options, of keyOf, parse func([]byte) (receipt.Signer, []ed25519.PublicKey, error)) (func() vouching, error) {
	var known vouching
	switch {
	case of.file != "":
		current, err := readFile(o.files, of.file, func(text []byte) (v vouching, err error) {
			v.signer, v.keys, err = parse(text)
			return v, err
		})
		if err != nil {
			return nil, fmt.Errorf("%s: %w", of.fileSetting, err)
		}
		return current, nil
	case of.kms != "":
		key := cloudkms.Options{Key: of.kms}
		if o.Stand.KMS != nil {
			o.Stand.KMS(&key)
		}
		signer, err := cloudkms.NewSigner(ctx, key)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", of.kmsSetting, err)
		}
		known = vouching{signer, []ed25519.PublicKey{signer.Public()}, keptKeys(func(ctx context.Context) ([]ed25519.PublicKey, error) {
			keys, err := signer.Before(ctx)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", of.kmsSetting, err)
			}
			return keys, nil
		})}
	}
	return func() vouching { return known }, nil
}
