output "table" {
  description = "USD, rounded to cents: idle a month, and per million calls, each with its parts and their sum."
  value = {
    idle_month    = merge({ for k, v in local.idle : k => floor(v * 100 + 0.5) / 100 }, { total = floor(sum(concat([0], values(local.idle))) * 100 + 0.5) / 100 })
    million_calls = merge({ for k, v in local.million : k => floor(v * 100 + 0.5) / 100 }, { total = floor(sum(concat([0], values(local.million))) * 100 + 0.5) / 100 })
  }
}
