package entitlement

import "context"

// VersionName is the name of a [Store]'s version among those that instances hear of.
const VersionName = "tenants"

// A Store keeps tenants and plans. All that it returns is the caller's.
type Store interface {
	// Tenant returns one, or [ErrUnknown].
	Tenant(ctx context.Context, id string) (*Tenant, error)
	// Tenants returns at most so many of those after an id, in the order of their ids.
	Tenants(ctx context.Context, after string, most int) ([]*Tenant, error)
	// ChangeTenant changes a tenant, or makes one, and returns it as stored: change gets it as it is, with Revision 0, its ID and
	// the time of its creation where it is new, and may be called several times; what it returns as an error is returned. An event
	// (nil: none) is remembered with the change, for 60 days at least: another of the same source and id is [ErrSeen], or
	// [ErrOther] where its content differs, and changes nothing. Where change fails, the event is not remembered.
	ChangeTenant(ctx context.Context, id string, event *Event, change func(*Tenant) error) (*Tenant, error)
	// Plans returns those that were edited, in the order of their names.
	Plans(ctx context.Context) ([]*Plan, error)
	// ChangePlan changes a plan or makes one; change gets the edited one, or one with Revision 0 and its name.
	ChangePlan(ctx context.Context, name string, change func(*Plan) error) (*Plan, error)
	// Changes returns what has changed since a revision, in the order of the revisions; 0 is everything. What changed at that
	// revision, and shortly before, may be among it.
	Changes(ctx context.Context, since int64) (*Changes, error)
	// Version is the greatest revision in the store; 0 where there is nothing.
	Version(ctx context.Context) (int64, error)
}
