import t from 'tap'
import { testByChance } from '../support/fuzz/suite.js'

testByChance(t, { forged: 3000, hostile: 2000, changed: 1000 })
