package identity

import "maps"

func (k *Keys) Version() int64 {
	if k == nil {
		return 0
	}
	return k.version
}
func (k *Keys) Len() int { return len(k.byID) }
func (k *Keys) With(changed []*StoredKey, version int64) (*Keys, []error) {
	out := &Keys{byID: map[string]*apiKey{}, version: version}
	if k != nil {
		maps.Copy(out.byID, k.byID)
	}
	for _, c := range changed {
		x, err := (&KeyFile{Keys: []Key{c.Key}}).index()
		if err != nil {
			return out, []error{err}
		}
		maps.Copy(out.byID, x.byID)
	}
	return out, nil
}
func Merge(a, b *Keys) *Keys {
	out := &Keys{byID: maps.Clone(b.byID)}
	if out.byID == nil {
		out.byID = map[string]*apiKey{}
	}
	maps.Copy(out.byID, a.byID)
	return out
}
