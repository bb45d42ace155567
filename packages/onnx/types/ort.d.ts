// What `#ort` and its entries are: onnxruntime-web, by whatever condition a bundler or Node chooses one of its builds.
declare const ort: typeof import('onnxruntime-web');
export default ort;
export * from 'onnxruntime-web';
