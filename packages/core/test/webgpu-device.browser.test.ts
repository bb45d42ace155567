import { webgpuDeviceSuite } from './webgpu-device.ts';

webgpuDeviceSuite();
