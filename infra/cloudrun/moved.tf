# What environments have from before, and where it is now: without these it would be destroyed and made anew. First there were no sizes.

moved {
  from = module.network
  to   = module.network[0]
}

moved {
  from = module.redis
  to   = module.redis[0]
}

# Then what both compositions share was a part of each.

moved {
  from = module.network[0]
  to   = module.platform.module.network[0]
}

moved {
  from = module.redis[0]
  to   = module.platform.module.redis[0]
}

moved {
  from = module.firestore
  to   = module.platform.module.firestore[0]
}

moved {
  from = module.firestores
  to   = module.platform.module.firestores
}

moved {
  from = module.identity
  to   = module.platform.module.identity[0]
}

moved {
  from = module.taiea_identity
  to   = module.platform.module.taiea_identity[0]
}

moved {
  from = module.secrets
  to   = module.platform.module.secrets[0]
}

moved {
  from = module.signing[0]
  to   = module.platform.module.signing[0]
}

moved {
  from = module.backup[0]
  to   = module.platform.module.backup[0]
}

moved {
  from = module.registry
  to   = module.platform.module.registry[0]
}

moved {
  from = module.events
  to   = module.platform.module.events[0]
}

moved {
  from = module.certificate[0]
  to   = module.platform.module.certificate[0]
}

moved {
  from = module.taiea
  to   = module.control["taiea"]
}

moved {
  from = module.webhook[0]
  to   = module.control["webhook"]
}
